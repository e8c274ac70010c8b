// Package stepping names the moments at which a test may have a process die or wait: [At] does
// nothing, unless the program is built with the tag drvhost_steps. It imports nothing of drvhost.
package stepping
