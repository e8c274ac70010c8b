// Package service keeps driver services: their registrations, in a registry that survives the
// process at any moment, and the hosts that run them.
//
// A [Store] is the registry of package cm with a file: each change is durable before anybody sees
// it, and a [Store.Batch] of changes is done as a whole or not at all. A [Config] is what a service's
// key holds. A [Manager] starts a host process for each service, or one for those with the same
// HostGroup, supervises and stops it. A [Server] answers [Client]s on the manager's socket. A host
// has a [Control], by which managers speak to it.
//
// Hosts outlive the manager. A host is born with the lock of its unit, hosts/NAME/lock, and with the
// socket hosts/NAME/control.sock, both made by the manager before it forks: at each moment either
// nobody has the lock and there is no host, or there is one (or will be, at once) and it can be
// connected to. So nothing is started twice, whenever a manager is killed. What was wanted of a
// service is the last line of hosts/NAME/state.json, with the machine's boot: a start that had begun is
// ended by the next manager, a stop too, a failure action that waits goes on waiting, and a host that
// died meanwhile is a failure.
//
// [Settings] are what an administrator tells a manager in config.json. A [Guard] keeps the drivers in
// hosts from changing what they must not in the registry. A [CrashList] is what is kept of crashes.
//
// The package may import nt, ntoskrnl/cm and go-hclog. Lock order: Manager.system, runtime.op,
// Manager.admin, a Batch of the store; then a unit that is occupied, Manager.mu, Guard.mu, the
// registry's own, Store.mu, which guards the file's transaction. Manager.mu is not held while a host is
// asked.
package service
