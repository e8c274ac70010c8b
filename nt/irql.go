// IRQL: the levels, and their names.
package nt

import "strconv"

// IRQL is KIRQL: an interrupt request level. On x64 it is what CR8 holds.
type IRQL uint8

// The levels of x64.
const (
	PASSIVE_LEVEL  IRQL = 0
	LOW_LEVEL      IRQL = 0
	APC_LEVEL      IRQL = 1
	DISPATCH_LEVEL IRQL = 2
	CMCI_LEVEL     IRQL = 5
	CLOCK_LEVEL    IRQL = 13
	IPI_LEVEL      IRQL = 14
	DRS_LEVEL      IRQL = 14
	POWER_LEVEL    IRQL = 14
	PROFILE_LEVEL  IRQL = 15
	HIGH_LEVEL     IRQL = 15
)

// String gives the level's name, such as DISPATCH_LEVEL; for a device's level "DIRQL 7".
func (i IRQL) String() string {
	switch i {
	case PASSIVE_LEVEL:
		return "PASSIVE_LEVEL"
	case APC_LEVEL:
		return "APC_LEVEL"
	case DISPATCH_LEVEL:
		return "DISPATCH_LEVEL"
	case CLOCK_LEVEL:
		return "CLOCK_LEVEL"
	case IPI_LEVEL:
		return "IPI_LEVEL"
	case HIGH_LEVEL:
		return "HIGH_LEVEL"
	}
	if i < HIGH_LEVEL {
		return "DIRQL " + strconv.Itoa(int(i))
	}
	return "IRQL " + strconv.Itoa(int(i))
}
