// Package pe reads, maps, links and builds PE images: the room of everything that comes as a .sys
// file, and of the modules that the host itself puts into the driver's address space. It knows the
// format and what loading does to it, and nothing of what an export does.
//
// An Image is a file that was read and checked; Image.Map gives a Module, its copy in a
// guest.Space; Module.Bind or a Linker fills its import table, and Module.Protect gives its pages
// the protections that its sections ask for. A Builder makes images of code and data that the host
// supplies, with exports, relocations and unwind data, so that one linker serves them all.
//
// saferwall/pe reads the DOS header, the NT headers and the section table. The tables that loading
// depends on (imports, exports, base relocations, .pdata, load config) are read here, straight from
// the file's bytes: saferwall/pe logs their errors instead of returning them, cuts long tables
// short silently, guesses at broken ones, and takes 5.5 ms for acpi.sys (0.3 ms for a driver of
// 27 KB) where this takes 0.12 (0.02). Its debug, resource and security directories are never
// touched.
//
// Nothing in a file is believed: Parse checks every table that a later step follows, and later
// steps use what Parse read, never what guest memory says now.
//
// pe imports nt, guest and saferwall/pe. Locks: Linker.mu is the only one; it is held for no call
// out of this package, so it is a leaf.
package pe
