package main

// reg save, restore, load and unload: keys and Windows' binary hives.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
	"github.com/drvhost/drvhost/ntoskrnl/cm/hive"
)

const saveUsage = `REG SAVE KEY FILE [/y]

  /y  ask nothing where there is such a file

The file is a hive of version 1.5 with the key and everything below it, without what is volatile.
`

const restoreUsage = `REG RESTORE KEY FILE

What the key has and what is below it becomes what the hive has. The key must be there.
`

const loadUsage = `REG LOAD KEY FILE

The key is a new one directly below HKLM or HKU. The hive's keys become the registry's own, as
durable as all others; REG UNLOAD writes them to the file. Which hives are loaded is in
HKLM\System\CurrentControlSet\Control\hivelist.
`

const unloadUsage = `REG UNLOAD KEY

What the key has is written to the file that it was loaded from, if anything of it has changed, and
the key goes.
`

const (
	errIncorrect = regError("The parameter is incorrect.")
	errMounted   = regError("There is a key of that name already.")
)

func (r *regRun) save() error {
	name, err := parseKey(r.words[0])
	if err != nil {
		return err
	}
	file := r.words[1]
	var h *hive.Hive
	err = r.with(false, func() error {
		k, err := r.key(name, false)
		if err != nil {
			return err
		}
		var status nt.Status
		h, status = hive.Of(k, filepath.Base(file))
		return failure(status)
	})
	if err != nil {
		return err
	}
	if err := r.overwrite(file); err != nil {
		return err
	}
	if err := writeHive(file, h); err != nil {
		return fileError(err)
	}
	return r.done()
}

// writeHive writes a hive's file so that it is there whole, or as it was.
func writeHive(file string, h *hive.Hive) error {
	data, err := h.Encode()
	if err != nil {
		return err
	}
	mode := os.FileMode(0o666)
	if info, err := os.Stat(file); err == nil {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no file", file)
		}
		mode = info.Mode().Perm()
	}
	if target, err := filepath.EvalSymlinks(file); err == nil {
		file = target
	}
	tmp := filepath.Join(filepath.Dir(file), fmt.Sprintf(".%s.%d", filepath.Base(file), os.Getpid()))
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

func (r *regRun) restore() error {
	name, err := parseKey(r.words[0])
	if err != nil {
		return err
	}
	if name.root {
		return errDenied
	}
	h, err := hive.Open(r.words[1])
	if err != nil {
		return fileError(err)
	}
	err = r.with(true, func() error {
		k, err := r.key(name, false)
		if err != nil {
			return err
		}
		return r.batch(func() error { return failure(k.Restore(h.Root)) })
	})
	if err != nil {
		return err
	}
	r.recovered(h)
	return r.done()
}

// recovered says that a hive was not as its file has it.
func (r *regRun) recovered(h *hive.Hive) {
	if h.Recovered > 0 {
		fmt.Fprintf(r.err, "The hive was not written to its end, and was recovered from its "+
			"transaction logs (changes: %d).\n", h.Recovered)
	}
}

func (r *regRun) load() error {
	name, err := parseKey(r.words[0])
	if err != nil {
		return err
	}
	file, err := filepath.Abs(r.words[1])
	if err != nil {
		return err
	}
	h, err := hive.Open(file)
	if err != nil {
		return fileError(err)
	}
	err = r.with(true, func() error {
		return r.batch(func() error {
			switch status := h.Mount(r.reg, name.path, file); status {
			case nt.STATUS_INVALID_PARAMETER:
				return errInvalidName
			case nt.STATUS_OBJECT_NAME_COLLISION:
				return errMounted
			default:
				return failure(status)
			}
		})
	})
	if err != nil {
		return err
	}
	r.recovered(h)
	return r.done()
}

func (r *regRun) unload() error {
	name, err := parseKey(r.words[0])
	if err != nil {
		return err
	}
	err = r.with(true, func() error {
		k, file, status := hive.Mounted(r.reg, name.path)
		switch {
		case status != nt.STATUS_SUCCESS:
			return errIncorrect
		case strings.HasPrefix(file, `\`):
			return fmt.Errorf("%s is of a driver's file %s: the driver unloads it", name.shown, file)
		}
		h, status := hive.Of(k, filepath.Base(file))
		if status != nt.STATUS_SUCCESS {
			return status
		}
		if before, err := hive.Open(file); err != nil || !cm.Equal(before.Root, h.Root) {
			if err := writeHive(file, h); err != nil {
				return fileError(err)
			}
		}
		return r.batch(func() error { return failure(hive.Unmount(r.reg, name.path)) })
	})
	if err != nil {
		return err
	}
	return r.done()
}
