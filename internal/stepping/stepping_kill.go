//go:build drvhost_steps

package stepping

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A build with this tag, for tests, does at its steps what files in $DRVHOST_TEST_STEPS say. ROLE
// is host for a host of services, else manager:
//
//	kill.ROLE  has a number N, or a step's name: at the process's Nth step since the file is there,
//	           or at that step, it ends as by kill -9, with its number and the step's
//	           name in died.ROLE
//	hold.ROLE  so too, but it waits there, until died.ROLE is gone
//
// $DRVHOST_TEST_STEP has the name of a step at which the process ends.

// hostPrefix begins the steps of a service's host.
const hostPrefix = "host: "

var (
	dir   = os.Getenv("DRVHOST_TEST_STEPS")
	named = os.Getenv("DRVHOST_TEST_STEP")

	mu    sync.Mutex
	count = map[string]int{} // of the steps, by what is done at one of them
)

// At does what a test wants done at a step.
func At(name string) {
	if named == name {
		die()
	}
	if dir == "" {
		return
	}
	role := "manager"
	if strings.HasPrefix(name, hostPrefix) {
		role = "host"
	}
	if counts("kill."+role, "died."+role, name) {
		die()
	}
	if counts("hold."+role, "died."+role, name) {
		hold(filepath.Join(dir, "died."+role))
	}
}

// counts says whether a step is the one that a file means. Nobody is told so twice.
func counts(file, told, name string) bool {
	mu.Lock()
	defer mu.Unlock()
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		delete(count, file)
		return false
	}
	count[file]++
	n, wrong := strconv.Atoi(string(b))
	here := count[file] == n
	if wrong != nil {
		here = string(b) == name
	}
	if !here || os.Remove(filepath.Join(dir, file)) != nil {
		return false
	}
	path := filepath.Join(dir, told)
	text := strconv.Itoa(os.Getpid()) + " " + name
	if os.WriteFile(path+".new", []byte(text), 0o600) != nil || os.Rename(path+".new", path) != nil {
		panic("stepping: " + path + " cannot be written")
	}
	return true
}

// hold waits until a file is gone.
func hold(path string) {
	for {
		if _, err := os.Stat(path); err != nil {
			return
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
	}
}

// die ends the process as kill -9 does. Within a sandbox there is no kill.
func die() {
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	unix.Exit(137)
	select {}
}
