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
func (k *Kernel) addModule(m *pe.Module) (moduleEntry, error) {
	dir := systemDirectory
	if strings.HasSuffix(strings.ToLower(m.Name()), ".sys") {
		dir += `DRIVERS\`
	}
	full, base := guest.EncodeUTF16(dir+m.Name()), guest.EncodeUTF16(m.Name())
	if len(full) > 0xFFFC {
		return moduleEntry{}, fmt.Errorf("%s: the name is too long", m.Name())
	}
	var e moduleEntry
	var err error
	if e.names, err = k.allocObject(uintptr(len(full)) + 2); err != nil {
		return e, err
	}
	if e.entry, err = k.allocObject(sizeofModuleEntry); err != nil {
		k.freeObject(e.names)
		return e, err
	}
	if err := guest.Write(e.names, full); err != nil {
		return e, err
	}
	n, b := uint16(len(full)), uint16(len(base))
	k.mu.Lock()
	defer k.mu.Unlock()
	head := guest.Ptr[nt.ListEntry](k.symbol("PsLoadedModuleList")).Ref()
	table, size := m.ExceptionTable()
	*guest.Ptr[nt.KLdrDataTableEntry](e.entry).Ref() = nt.KLdrDataTableEntry{
		InLoadOrderLinks:   nt.ListEntry{Flink: k.symbol("PsLoadedModuleList"), Blink: head.Blink},
		ExceptionTable:     table,
		ExceptionTableSize: size,
		DllBase:            m.Base(), EntryPoint: m.Entry(), SizeOfImage: uint32(m.Size()),
		FullDllName: nt.UnicodeString{Length: n, MaximumLength: n + 2, Buffer: e.names},
		BaseDllName: nt.UnicodeString{Length: b, MaximumLength: b + 2,
			Buffer: e.names + guest.Addr(n-b)},
		LoadCount: 1,
	}
	if err := guest.StoreAddr(head.Blink, e.entry); err != nil {
		return e, fmt.Errorf("PsLoadedModuleList is corrupted: %w", err)
	}
	head.Blink = e.entry
	return e, nil
}

// removeModule takes a module off the list. A list that a driver has corrupted is left alone.
func (k *Kernel) removeModule(e moduleEntry) {
	k.mu.Lock()
	links := guest.Ptr[nt.KLdrDataTableEntry](e.entry).Ref().InLoadOrderLinks
	if guest.StoreAddr(links.Blink, links.Flink) == nil {
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
