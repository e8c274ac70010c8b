// Package registry shares one registry between processes over a unix stream socket.
//
// The service manager has a [Server] for its tree; each host has a [Mirror], a whole tree of its own.
// The server numbers the changes, and shows the last number in a page of memory that every mirror maps:
// before anything is read, a mirror compares that with its own, and asks for what is missing only if
// there is something. So a read sees every write that has ended before it, whoever wrote, and a change
// that nobody asks for costs nobody anything. A mirror with watches also has the server tell it when
// there is more.
//
// What a mirror's user writes goes to the server and comes back with the answer, among what others have
// written, so that all see one order. A mirror connects again when its server has gone; one whose
// sandbox forbids that is reached by the next server itself ([Server.ServeConn], [Mirror.Adopt]).
//
// It may import nt and ntoskrnl/cm. The lock of a batch (ServerOptions) comes before the registry's,
// that before Server.mu and peer.mu; Mirror.mu is held alone.
package registry
