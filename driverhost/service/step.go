package service

import "github.com/drvhost/drvhost/internal/stepping"

// step is called between two steps of what changes something.
func step(name string) { stepping.At(name) }
