package cm

import "slices"

// Comparing keys, as reg compare does.

// Difference is what two keys have in the same place, or one of them only.
type Difference struct {
	Path        []string // of the keys, below the two that are compared
	Value       bool     // it is a value; else the key itself
	First       *Value   // nil if only the second has it; set for values only
	Second      *Value
	OnlyIn      int  // 1 or 2 for a key that only one of them has, else 0
	IsDifferent bool // what is there is not the same
}

// Compare tells f of all that two trees have: values in the order of the first's, those that only
// the second has behind them, then with deep the keys below. Of a key that only one has nothing
// else is told. It reports whether all is the same.
func Compare(a, b *Tree, deep bool, f func(Difference)) (same bool) {
	c := comparison{deep: deep, tell: f, same: true}
	c.keys(nil, a, b)
	return c.same
}

type comparison struct {
	deep bool
	tell func(Difference)
	same bool
}

func (c *comparison) say(d Difference) {
	if d.IsDifferent {
		c.same = false
	}
	c.tell(d)
}

func (c *comparison) keys(path []string, a, b *Tree) {
	seconds := make(map[string]*Value, len(b.Values))
	for i := range b.Values {
		seconds[Fold(b.Values[i].Name)] = &b.Values[i]
	}
	for i := range a.Values {
		first := &a.Values[i]
		second := seconds[Fold(first.Name)]
		delete(seconds, Fold(first.Name))
		c.say(Difference{Path: path, Value: true, First: first, Second: second,
			IsDifferent: second == nil || !first.Same(*second)})
	}
	for i := range b.Values {
		if second := &b.Values[i]; seconds[Fold(second.Name)] != nil {
			c.say(Difference{Path: path, Value: true, Second: second, IsDifferent: true})
		}
	}
	if !c.deep {
		return
	}
	below := make(map[string]*Tree, len(b.Keys))
	for _, k := range b.Keys {
		below[Fold(k.Name)] = k
	}
	for _, k := range a.Keys {
		other := below[Fold(k.Name)]
		delete(below, Fold(k.Name))
		at := append(slices.Clone(path), k.Name)
		if other == nil {
			c.say(Difference{Path: at, OnlyIn: 1, IsDifferent: true})
			continue
		}
		c.say(Difference{Path: at})
		c.keys(at, k, other)
	}
	for _, k := range b.Keys {
		if below[Fold(k.Name)] != nil {
			c.say(Difference{Path: append(slices.Clone(path), k.Name), OnlyIn: 2, IsDifferent: true})
		}
	}
}
