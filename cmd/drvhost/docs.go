package main

// docs: the pages in docs/cli, from the command tree itself.

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

//go:generate go run . docs ../../docs/cli

func (a *app) docsCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "docs DIRECTORY",
		Short:  "Write a page for each command",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE:   func(cmd *cobra.Command, args []string) error { return writeDocs(cmd.Root(), args[0]) },
	}
}

// writeDocs writes a page for every command that is not hidden, and removes the pages of those that
// are gone.
func writeDocs(root *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "drvhost*.md"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for _, c := range documented(root) {
		if err := os.WriteFile(filepath.Join(dir, pageName(c)), []byte(page(c)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func documented(root *cobra.Command) []*cobra.Command {
	list := []*cobra.Command{root}
	for _, c := range root.Commands() {
		if !c.Hidden && c.Name() != "help" && c.Name() != "completion" {
			list = append(list, documented(c)...)
		}
	}
	return list
}

func pageName(c *cobra.Command) string {
	return strings.ReplaceAll(c.CommandPath(), " ", "_") + ".md"
}

// page makes a command's page.
func page(c *cobra.Command) string {
	c.InitDefaultHelpFlag() // else it is there only once the command has run
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- Made by go generate ./cmd/drvhost: do not edit. -->\n\n# %s\n\n%s.\n\n",
		c.CommandPath(), c.Short)
	if c.Runnable() {
		fmt.Fprintf(&b, "```\n%s\n```\n\n", c.UseLine())
	}
	if c.Long != "" {
		// The help is laid out for a terminal; as a block it keeps its lines.
		fmt.Fprintf(&b, "```\n%s\n```\n\n", strings.TrimRight(c.Long, "\n"))
	}
	if c.Example != "" {
		fmt.Fprintf(&b, "## Examples\n\n```\n%s\n```\n\n", c.Example)
	}
	if flags := c.NonInheritedFlags(); flags.HasAvailableFlags() {
		fmt.Fprintf(&b, "## Flags\n\n```\n%s```\n\n", flags.FlagUsages())
	}
	if flags := c.InheritedFlags(); flags.HasAvailableFlags() {
		fmt.Fprintf(&b, "## Flags of every command\n\n```\n%s```\n\n", flags.FlagUsages())
	}
	if c.HasAvailableSubCommands() || !c.HasParent() {
		b.WriteString("## Commands\n\n")
		for _, sub := range documented(c)[1:] {
			fmt.Fprintf(&b, "- [%s](%s): %s\n", sub.CommandPath(), pageName(sub), sub.Short)
		}
		b.WriteString("- drvhost completion: a script that completes commands, flags and devices in " +
			"bash, zsh, fish or PowerShell\n\n")
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}
