@problemName Tiny
@timeStamps false
@missing false
@univariate true
@equalLength false
@classLabel true up down
@data
1,2,3:up
4,5,6:down
1,2:up
