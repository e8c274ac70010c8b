package ntoskrnl

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/pe"
)

// The list of loaded modules, as drivers see it: PsLoadedModuleList.

var psModuleExports = []Export{
	{Name: "PsLoadedModuleList", Data: 16, Support: Full, MaxIRQL: anyIRQL},
}

// moduleEntry is a module's KLDR_DATA_TABLE_ENTRY, and the strings behind it.
type moduleEntry struct {
	entry guest.Addr
	names guest.Addr
}

// systemDirectory is where Windows has its kernel.
const systemDirectory = `\SystemRoot\system32\`

// listBuiltins makes PsLoadedModuleList, with the built-in modules.
func (k *Kernel) listBuiltins() error {
	head := k.symbol("PsLoadedModuleList")
	*guest.Ptr[nt.ListEntry](head).Ref() = nt.ListEntry{Flink: head, Blink: head}
	for _, m := range k.Linker.Modules() {
		e, err := k.addModule(m)
		if err != nil {
			return err
		}
		k.modules = append(k.modules, e)
	}
	return nil
}

// addModule puts m at the end of PsLoadedModuleList.
func (k *Kernel) addModule(m *pe.Module) (e moduleEntry, err error) {
	dir := systemDirectory
	if strings.HasSuffix(strings.ToLower(m.Name()), ".sys") {
		dir += `DRIVERS\`
	}
	full, base := guest.EncodeUTF16(dir+m.Name()), guest.EncodeUTF16(m.Name())
	if len(full) > 0xFFFC {
		return e, fmt.Errorf("%s: the name is too long", m.Name())
	}
	defer func() {
		if err != nil {
			k.freeObject(e.entry)
			k.freeObject(e.names)
		}
	}()
	if e.names, err = k.allocObject(uintptr(len(full)) + 2); err != nil {
		return e, err
	}
	if e.entry, err = k.allocObject(sizeofModuleEntry); err != nil {
		return e, err
	}
	if err = guest.Write(e.names, full); err != nil {
		return e, err
	}
	n, b := uint16(len(full)), uint16(len(base))
	table, size := m.ExceptionTable()
	k.mu.Lock()
	defer k.mu.Unlock()
	head := k.symbol("PsLoadedModuleList")
	last, err := guest.LoadAddr(head + flinkSize)
	if err != nil {
		return e, fmt.Errorf("PsLoadedModuleList is corrupted: %w", err)
	}
	err = guest.Ptr[nt.KLdrDataTableEntry](e.entry).Store(nt.KLdrDataTableEntry{
		InLoadOrderLinks:   nt.ListEntry{Flink: head, Blink: last},
		ExceptionTable:     table,
		ExceptionTableSize: size,
		DllBase:            m.Base(), EntryPoint: m.Entry(), SizeOfImage: uint32(m.Size()),
		FullDllName: nt.UnicodeString{Length: n, MaximumLength: n + 2, Buffer: e.names},
		BaseDllName: nt.UnicodeString{Length: b, MaximumLength: b + 2,
			Buffer: e.names + guest.Addr(n-b)},
		LoadCount: 1,
	})
	if err != nil {
		return e, err
	}
	if err = guest.StoreAddr(last, e.entry); err != nil {
		return e, fmt.Errorf("PsLoadedModuleList is corrupted: %w", err)
	}
	return e, guest.StoreAddr(head+flinkSize, e.entry)
}

// removeModule takes a module off the list. A list that a driver has changed is left alone, as one
// that a driver has hidden itself from.
func (k *Kernel) removeModule(e moduleEntry) {
	k.mu.Lock()
	links, err := guest.Ptr[nt.ListEntry](e.entry).Load()
	next, err1 := guest.LoadAddr(links.Blink)
	before, err2 := guest.LoadAddr(links.Flink + flinkSize)
	if err == nil && err1 == nil && err2 == nil && next == e.entry && before == e.entry {
		_ = guest.StoreAddr(links.Blink, links.Flink)
		_ = guest.StoreAddr(links.Flink+flinkSize, links.Blink)
	}
	k.mu.Unlock()
	k.freeObject(e.entry)
	k.freeObject(e.names)
}

// serviceName makes the name of a service from that of its image: "echo" of "dir/echo.sys".
func serviceName(path string) string {
	base := filepath.Base(path)
	return strings.TrimSuffix(base, filepath.Ext(base))
}
