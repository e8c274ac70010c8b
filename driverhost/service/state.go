package service

import (
	"os"
	"path/filepath"
)

// Where the service manager keeps what it knows, and where it listens.

// The names of what lies in the state directory.
const (
	RegistryFile   = "registry.db"   // the Store
	ServicesSocket = "services.sock" // the service manager's requests: drvhost sc
	RegistrySocket = "registry.sock" // the registry, for hosts and for drvhost reg
)

// systemState is the state directory of a system's service manager.
const systemState = "/var/lib/drvhost"

// StateDir gives the directory of the service manager's state: $DRVHOST_STATE_DIR, else
// $XDG_STATE_HOME/drvhost, else /var/lib/drvhost. A relative path in the environment counts as none,
// as the XDG Base Directory Specification says.
func StateDir() string {
	if dir := os.Getenv("DRVHOST_STATE_DIR"); filepath.IsAbs(dir) {
		return filepath.Clean(dir)
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "drvhost")
	}
	return systemState
}
