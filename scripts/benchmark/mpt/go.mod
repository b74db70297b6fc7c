module muniment.example/bench

go 1.26

require (
	filippo.io/torchwood v0.10.0
	golang.org/x/sys v0.47.0
)
