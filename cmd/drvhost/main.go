// Command drvhost runs Windows kernel drivers as Linux processes and does I/O with their devices.
//
// It has no logic of its own: what it does are calls of packages driverhost, client and those below
// driverhost, which a program can make as well.
package main

import (
	"os"

	"github.com/drvhost/drvhost/driverhost/check"
	"github.com/drvhost/drvhost/driverhost/replay"
)

func main() {
	check.Init()  // a throw-away host of `drvhost check` ends here
	replay.Init() // and one of `drvhost replay` here
	os.Exit(run(os.Args[1:]))
}
