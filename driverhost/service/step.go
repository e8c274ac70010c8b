package service

// step is called between two steps of what changes something. Tests end the process in it.
var step = func(string) {}
