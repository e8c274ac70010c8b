package ntoskrnl

import (
	"github.com/drvhost/drvhost/guest"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/ob"
)

// Security descriptors of registry keys. They are kept, inherited and saved, but guard nothing:
// drivers call in kernel mode, where they would not be asked.

// Their operations for callbacks.
var (
	regQueryKeySecurity = registryOperation{36, 37}
	regSetKeySecurity   = registryOperation{38, 39}
)

// keyDescriptor gives the descriptor of a key.
func keyDescriptor(key *keyObject) (d nt.Descriptor, status nt.Status) {
	b, status := key.EffectiveSecurity()
	if status != nt.STATUS_SUCCESS {
		return d, status
	}
	d, err := nt.ParseDescriptor(b)
	if err != nil { // of a hive
		return d, nt.STATUS_INVALID_SECURITY_DESCR
	}
	return d, status
}

// watchKeySecurity does an operation between the callbacks, which get the address of info.
func (c *Call) watchKeySecurity(op registryOperation, o *ob.Object, info uint32, slots []uint64,
	do func() nt.Status) nt.Status {
	if len(c.registryCallbacks.snapshot()) == 0 {
		return do()
	}
	at, err := c.allocObject(8)
	if err != nil {
		return nt.STATUS_INSUFFICIENT_RESOURCES
	}
	defer c.freeObject(at)
	Store(c, at, info)
	return c.watchKey(op, o, append([]uint64{uint64(at)}, slots...), do)
}

// setKeySecurity sets parts of a key's descriptor.
func (c *Call) setKeySecurity(o *ob.Object, key *keyObject, info uint32, sd guest.Addr) nt.Status {
	by, status := c.loadDescriptor(sd)
	if status != nt.STATUS_SUCCESS {
		return status
	}
	return c.watchKeySecurity(regSetKeySecurity, o, info, []uint64{uint64(sd)}, func() nt.Status {
		d, status := keyDescriptor(key)
		if status == nt.STATUS_INVALID_SECURITY_DESCR {
			d, status = nt.Descriptor{}, nt.STATUS_SUCCESS
		}
		if status != nt.STATUS_SUCCESS {
			return status
		}
		d = d.Replace(info, by)
		return key.SetSecurity(d.Append(nil))
	})
}

// queryKeySecurity gives parts of a key's descriptor.
func (c *Call) queryKeySecurity(o *ob.Object, key *keyObject, info uint32, sd guest.Addr,
	length uint32, needed guest.Addr) nt.Status {
	slots := []uint64{uint64(sd), uint64(needed)}
	return c.watchKeySecurity(regQueryKeySecurity, o, info, slots, func() nt.Status {
		d, status := keyDescriptor(key)
		if status != nt.STATUS_SUCCESS {
			return status
		}
		d = d.Part(info)
		b := d.Append(nil)
		Store(c, needed, uint32(len(b)))
		if uint32(len(b)) > length {
			return nt.STATUS_BUFFER_TOO_SMALL
		}
		c.Must(guest.Write(sd, b))
		return nt.STATUS_SUCCESS
	})
}
