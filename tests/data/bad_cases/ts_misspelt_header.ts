@problemName Tiny
@timeStamps false
@missing false
@univarite true
@equalLength true
@seriesLength 3
@clasLabel true up down
@data
1,2,3:up
4,5,6:down
