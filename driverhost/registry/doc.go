// Package registry shares one registry between processes over a unix stream socket.
//
// The service manager has a [Server] for its tree; each host has a [Mirror], a whole tree of its own,
// which a stream of changes keeps true: reads are local. What a mirror's user writes goes to the
// server and comes back in the stream before the answer does, so that all see one order. Volatile
// keys stay in the process that made them. A mirror connects again when its server has gone; one
// whose sandbox forbids that is reached by the next server itself ([Server.ServeConn],
// [Mirror.Adopt]).
//
// It may import nt and ntoskrnl/cm. The registry's lock comes before Server.mu and peer.mu.
package registry
