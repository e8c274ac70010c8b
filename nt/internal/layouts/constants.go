package layouts

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path/filepath"
	"strings"
)

// Declared is what the sources of package nt declare.
type Declared struct {
	// Structs are the exported structure types, by name.
	Structs []string
	// Constants are the exported constants that are numbers and not statuses or bugchecks, as the
	// 64 bits that C would convert them to.
	Constants map[string]uint64
}

// Sources reads the sources of package nt in a folder, tests aside. It needs no compiler.
func Sources(dir string) (*Declared, error) {
	fset := token.NewFileSet()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, &fs.PathError{Op: "read", Path: dir, Err: fs.ErrNotExist}
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	// Imports stay unresolved: no constant or structure depends on one.
	config := types.Config{IgnoreFuncBodies: true, FakeImportC: true, Error: func(error) {}}
	pkg, _ := config.Check("nt", fset, files, nil)

	d := &Declared{Constants: map[string]uint64{}}
	for _, name := range pkg.Scope().Names() {
		if !token.IsExported(name) {
			continue
		}
		switch o := pkg.Scope().Lookup(name).(type) {
		case *types.TypeName:
			if _, ok := o.Type().Underlying().(*types.Struct); ok {
				d.Structs = append(d.Structs, name)
			}
		case *types.Const:
			if t := o.Type().String(); t == "nt.Status" || t == "nt.BugCheck" {
				continue
			}
			if v := constant.ToInt(o.Val()); v.Kind() == constant.Int {
				if n, ok := constant.Uint64Val(v); ok {
					d.Constants[name] = n
				} else if n, ok := constant.Int64Val(v); ok {
					d.Constants[name] = uint64(n)
				}
			}
		}
	}
	return d, nil
}
