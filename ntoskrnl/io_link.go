package ntoskrnl

import (
	"slices"
	"strings"

	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
)

// Symbolic links: the Win32 names of devices.
var ioLinkExports = []Export{
	{Name: "IoCreateSymbolicLink", Fn: fn2(ioCreateSymbolicLink),
		Params: "SymbolicLinkName:ustr DeviceName:ustr", MaxIRQL: passive, Support: Full},
	{Name: "IoDeleteSymbolicLink", Fn: fn1(ioDeleteSymbolicLink),
		Params: "SymbolicLinkName:ustr", MaxIRQL: passive, Support: Full},
}

// ioCreateSymbolicLink gives a device a name that clients can use.
//
//	NTSTATUS IoCreateSymbolicLink(PUNICODE_STRING SymbolicLinkName, PUNICODE_STRING DeviceName)
//
// STATUS_OBJECT_NAME_COLLISION if the name is taken. "IoCreateSymbolicLink function (wdm.h)".
func ioCreateSymbolicLink(c *Call, link, device guest.Addr) nt.Status {
	name := c.UString(link)
	status := c.Ob.CreateLink(name, c.UString(device))
	if status == nt.STATUS_SUCCESS {
		c.noteLink(c.Caller(), name)
	}
	return status
}

// ioDeleteSymbolicLink removes such a name.
//
//	NTSTATUS IoDeleteSymbolicLink(PUNICODE_STRING SymbolicLinkName)
//
// STATUS_OBJECT_NAME_NOT_FOUND if there is none. "IoDeleteSymbolicLink function (wdm.h)".
func ioDeleteSymbolicLink(c *Call, link guest.Addr) nt.Status {
	name := c.UString(link)
	status := c.Ob.DeleteLink(name)
	if status == nt.STATUS_SUCCESS {
		c.forgetLink(name)
	}
	return status
}

// ownedLink is a symbolic link and the code that made it.
type ownedLink struct {
	name  string
	maker guest.Addr
}

// noteLink remembers whose code made a link: it is the driver's to delete.
func (k *Kernel) noteLink(maker guest.Addr, name string) {
	k.mu.Lock()
	k.links = append(k.links, ownedLink{name, maker})
	k.mu.Unlock()
	k.linksChanged()
}

func (k *Kernel) forgetLink(name string) {
	k.mu.Lock()
	k.links = slices.DeleteFunc(k.links, func(l ownedLink) bool { return strings.EqualFold(l.name, name) })
	k.mu.Unlock()
	k.linksChanged()
}

// linksChanged tells the host, which makes the links files in its runtime directory.
func (k *Kernel) linksChanged() {
	if k.opts.OnLinks != nil {
		k.opts.OnLinks()
	}
}

// driverLinks gives the links that a driver's code has made and not deleted.
func (k *Kernel) driverLinks(d *Driver) (names []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.links {
		if d.Module != nil && d.Module.Contains(l.maker) {
			names = append(names, l.name)
		}
	}
	return names
}
