@problemName Tiny
@timeStamps false
@missing false
@univariate true
@univariate false
@equalLength true
@seriesLength 3
@classLabel true up down
@data
1,2,3:up
4,5,6:down
