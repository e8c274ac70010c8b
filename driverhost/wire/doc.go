// Package wire is the way between a client process and a driver host: the messages, the sockets
// that carry them, the host's side of a connection, and the runtime directory in which clients
// find devices.
//
// One connection is one open File, and so one client thread to the driver. It is a SOCK_SEQPACKET
// unix socket: a message is a packet, [Hello] and [Welcome] first, then requests and replies that
// are matched by id. Data that is too long for a message goes through a memfd that the host makes,
// seals and passes ([MsgBuffer]).
//
// [Server] accepts connections and gives each to a [Backend], which opens a [File]; the File starts
// each [Request] and completes it, at once or later. A request is started on the goroutine that
// received it, and its reply leaves from there too: nothing is handed to another goroutine unless
// the driver waits (see [Request.Blocking]).
//
// System calls are made past Go's network poller: a receive blocks its thread, a send never blocks
// (socket_unsafe.go says why).
//
// A host should run with GOMAXPROCS of at least 2. With 1 a thread that blocks in a receive keeps
// the only processor of Go's scheduler until its monitor takes it away, up to 10 ms later.
//
// The package imports only nt.
//
// Lock order: Server.mu, then Conn.mu. Neither is held while a Backend or a File is called, nor
// during a system call that can block.
package wire
