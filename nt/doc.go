// Package nt is Windows' kernel ABI as data: statuses, struct layouts, codes, flags and SIDs, with
// Windows' own names, so that a reader can search for them.
//
// Its main types are Status and BugCheck (numbers with names), the layouts (DriverObject,
// DeviceObject, IRP, IOStackLocation, KPCR…) and IOCTL. A layout's Go path is its C path:
// irp.Tail.Overlay.Thread is Irp->Tail.Overlay.Thread. Where C has a union, the field is the member
// that drivers use most, and methods give the others. Padding is explicit where Go's would differ.
// Pointer-sized fields are Addr, Handle or uintptr, and follow the pointer size.
//
// The system that it describes is Windows 10 22H2, x64, build 19045. Every offset and size is held
// against testdata/layouts_amd64.golden and the corrections beside it.
//
// The package does nothing: it imports only the standard library, holds no locks, and no package
// variable is built at start.
package nt

//go:generate go run ./gen
