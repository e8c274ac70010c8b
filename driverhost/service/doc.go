// Package service keeps driver services: their registrations, in a registry that survives the
// process at any moment.
//
// A [Store] is the registry of package cm with a file: each change is durable before anybody sees
// it, and a [Store.Batch] of changes is done as a whole or not at all.
//
// The package may import nt and ntoskrnl/cm. Store.mu guards the file's transaction; it is taken
// under the registry's own lock.
package service
