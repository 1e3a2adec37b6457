@problemName Tiny
@timeStamps false
@missing false
@univariate true
@equalLength true
@seriesLength 3
@targetLabel true
@data
1,2,3:0.5
