@problemName Tiny
@timeStamps true
@missing false
@univariate true
@equalLength true
@seriesLength 3
@classLabel true up down
@data
(0,1),(1,2),(2,3):up
