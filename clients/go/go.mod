// The name of a place that does not exist: programs say where this folder lies by a `replace`.
module parley.example/client

go 1.19
