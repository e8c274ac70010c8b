// Package mm is the memory manager as plain Go: pools, MDLs, client windows, sections, physical
// addresses, device memory and probes. Export rows read a driver's arguments and call it.
//
// A [Manager] belongs to one kernel. Its memory is one sealed memory file, the kernel's RAM, mapped
// once as a whole in the system arena (the direct map), so that a page's address, its offset in
// the file and its physical address follow from each other by arithmetic, and any page can be
// mapped a second time. What is not in use is mapped without access: a use after free of a page
// faults. What the manager knows of its blocks lies in Go memory, where no driver can write.
//
// A [Window] is the user memory of one client process: a sealed memory file of its own, mapped in
// the user arena and once more in the system arena.
//
// A [Section] is made of pages of the RAM, or is all of the physical memory; its views are further
// mappings of them. Sections of a file share its [FilePages].
//
// Results that Windows would give as a status to the caller, or raise as an exception there, are
// nt.Status values. Results for which Windows would stop are a [*PoolError] or a [*StopError].
//
// The package imports nt and guest. It knows nothing of IRQL, registers or export tables.
//
// Lock order: FilePages.mu, then Section.mu; blockCache.mu, then ram.mu; Section.mu, then Manager.mapMu, then Window.mu;
// Manager.lockMu and Manager.mapMu are never taken together, and before guest's locks. No other two
// are held at once.
package mm
