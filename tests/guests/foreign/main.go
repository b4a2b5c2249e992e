// A program of preview 1 in Go: counts the words of a file, writes the result into another.
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage:", os.Args[0], "INPUT OUTPUT")
		os.Exit(64)
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	line := fmt.Sprintf("%s: %d words\n", os.Getenv("TITLE"), len(strings.Fields(string(text))))
	if err := os.WriteFile(os.Args[2], []byte(line), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	written, err := os.ReadFile(os.Args[2])
	if err != nil || string(written) != line {
		fmt.Fprintln(os.Stderr, "what was written is not read:", err)
		os.Exit(1)
	}
	fmt.Print(line)
}
