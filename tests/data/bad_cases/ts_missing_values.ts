@problemName Tiny
@timeStamps false
@missing false
@univariate true
@equalLength true
@seriesLength 3
@classLabel true up down
@data
1,?,3:up
4,5,6:down
NaN,,3:up
