package hive

import (
	"fmt"
	"strings"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

// Hives in a registry: saved from a key, loaded under one and unloaded again, as seed of a
// system's.
//
// On Windows a loaded hive stays its file, which changes are written to. Here its keys become the
// registry's own, as durable as all others, and the file is written when the hive is unloaded;
// where it is stands in the key List, as on Windows.

// List is the key whose values name the files of loaded hives, by the keys that they are loaded at.
const List = `\Registry\Machine\System\CurrentControlSet\Control\hivelist`

// Of gives the hive that a key is, without what is volatile. The name is the file's.
func Of(k *cm.Key, name string) (*Hive, nt.Status) {
	t, status := k.Tree()
	if status != nt.STATUS_SUCCESS {
		return nil, status
	}
	return &Hive{Name: name, Minor: Latest, Written: t.LastWrite, Root: t.Stable()}, status
}

// mountPoint takes the path of a key that a hive is loaded at apart: it is directly below
// \Registry\Machine or \Registry\User.
func mountPoint(path string) (listed string, ok bool) {
	names := strings.Split(path, `\`)
	if len(names) != 4 || names[0] != "" || names[3] == "" || cm.Fold(names[1]) != "REGISTRY" {
		return "", false
	}
	where := cm.Fold(names[2])
	return `\REGISTRY\` + where + `\` + names[3], where == "MACHINE" || where == "USER"
}

// MayMount reports whether a path is one that a hive can be loaded at.
func MayMount(path string) bool {
	_, ok := mountPoint(path)
	return ok
}

// Mount loads a hive as a new key, and notes its file.
//
// STATUS_INVALID_PARAMETER for a key that is not directly below \Registry\Machine or
// \Registry\User, STATUS_OBJECT_NAME_COLLISION for one that is there, and what the registry
// refuses: then nothing is left of it.
func (h *Hive) Mount(r *cm.Registry, path, file string) nt.Status {
	listed, ok := mountPoint(path)
	if !ok {
		return nt.STATUS_INVALID_PARAMETER
	}
	k, created, status := r.Create(nil, path, cm.CreateOptions{Class: h.Root.Class})
	switch {
	case status != nt.STATUS_SUCCESS:
		return status
	case !created:
		return nt.STATUS_OBJECT_NAME_COLLISION
	}
	status = k.Restore(h.Root)
	if status == nt.STATUS_SUCCESS {
		var list *cm.Key
		list, _, status = r.Create(nil, List, cm.CreateOptions{Parents: true})
		if status == nt.STATUS_SUCCESS {
			status = list.Set(listed, nt.REG_SZ, cm.SZ(file))
		}
	}
	if status != nt.STATUS_SUCCESS {
		k.DeleteTree()
	}
	return status
}

// Mounted gives the file of the hive that is loaded at a key.
//
// STATUS_INVALID_PARAMETER where none is.
func Mounted(r *cm.Registry, path string) (k *cm.Key, file string, status nt.Status) {
	listed, ok := mountPoint(path)
	list, status := r.Open(nil, List, false)
	if !ok || status != nt.STATUS_SUCCESS {
		return nil, "", nt.STATUS_INVALID_PARAMETER
	}
	v, status := list.Value(listed)
	if status == nt.STATUS_SUCCESS {
		k, status = r.Open(nil, path, true)
	}
	if status != nt.STATUS_SUCCESS {
		return nil, "", nt.STATUS_INVALID_PARAMETER
	}
	return k, v.Text(), nt.STATUS_SUCCESS
}

// Unmount takes a loaded hive's keys away. To write its file before is the caller's.
//
// STATUS_INVALID_PARAMETER where none is, and what the registry refuses.
func Unmount(r *cm.Registry, path string) nt.Status {
	k, _, status := Mounted(r, path)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if status := k.DeleteTree(); status != nt.STATUS_SUCCESS && status != nt.STATUS_KEY_DELETED {
		return status
	}
	listed, _ := mountPoint(path)
	list, status := r.Open(nil, List, false)
	if status == nt.STATUS_SUCCESS {
		status = list.DeleteValue(listed)
	}
	return status
}

// Seed puts what a hive has into the registry at a key, which is made with those above it: beside
// and over what is there. A SYSTEM hive has no CurrentControlSet, which Windows makes when it
// starts: it becomes the set that the hive's Select says.
func (h *Hive) Seed(r *cm.Registry, path string) nt.Status {
	k, _, status := r.Create(nil, path, cm.CreateOptions{Parents: true})
	if status == nt.STATUS_SUCCESS {
		status = k.Merge(h.Root)
	}
	if status != nt.STATUS_SUCCESS || h.Root.Key("CurrentControlSet") != nil {
		return status
	}
	sel := h.Root.Key("Select")
	if sel == nil {
		return status
	}
	v, _ := sel.Value("Current")
	current, ok := v.Number()
	set := controlSet(current)
	if !ok || h.Root.Key(set) == nil {
		return status
	}
	link, _, status := r.Create(k, "CurrentControlSet", cm.CreateOptions{Link: true})
	if status == nt.STATUS_OBJECT_NAME_COLLISION {
		link, status = r.Open(k, "CurrentControlSet", true)
	}
	if status != nt.STATUS_SUCCESS {
		return status
	}
	if info, _ := link.Info(); !info.Link {
		return nt.STATUS_SUCCESS
	}
	return link.Set("SymbolicLinkValue", nt.REG_LINK, cm.Encode(k.Path()+`\`+set, false))
}

// SeedFile seeds a registry from KEY=FILE, as a command line has it; the key is named as
// [cm.FullPath] takes it.
func SeedFile(r *cm.Registry, arg string) error {
	key, file, ok := strings.Cut(arg, "=")
	if !ok || key == "" || file == "" {
		return fmt.Errorf("%q has no key, = and file", arg)
	}
	path, err := cm.FullPath(key)
	if err != nil {
		return err
	}
	h, err := Open(file)
	if err != nil {
		return err
	}
	if status := h.Seed(r, path); status != nt.STATUS_SUCCESS {
		return fmt.Errorf("%s at %s: %w", file, key, status)
	}
	return nil
}

// controlSet names a control set: ControlSet001.
func controlSet(n uint64) string {
	digits := []byte("000")
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] += byte(n % 10)
		n /= 10
	}
	return "ControlSet" + string(digits)
}
