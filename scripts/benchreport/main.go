// Command benchreport reads `go test -bench` output on standard input and writes its figures as tables into a document,
// between the lines <!-- figures --> and <!-- /figures -->. Usage: benchreport docs/benchmarks.md
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	opening = "<!-- figures -->"
	closing = "<!-- /figures -->"
)

func main() {
	if err := run(os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader) error {
	if len(args) != 1 {
		return errors.New("usage: benchreport DOCUMENT")
	}
	document, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(document), opening)
	_, after, closed := strings.Cut(rest, closing)
	if !found || !closed {
		return fmt.Errorf("%s has no lines %s and %s", args[0], opening, closing)
	}
	figures, err := tables(in)
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], []byte(before+opening+"\n"+figures+closing+after), 0o644)
}

// tables turns benchmark lines into one table a package.
func tables(in io.Reader) (string, error) {
	var out strings.Builder
	pkg, cpu, rows := "", "", 0
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "cpu: "):
			cpu = strings.TrimPrefix(line, "cpu: ")
		case strings.HasPrefix(line, "pkg: "):
			pkg = line[strings.LastIndex(line, "slipstream/")+len("slipstream/"):]
		case strings.HasPrefix(line, "Benchmark"):
			name, figures := figuresOf(line)
			if pkg != "" {
				fmt.Fprintf(&out, "\n**%s**\n\n| benchmark | figures |\n| --- | --- |\n", pkg)
				pkg = ""
			}
			fmt.Fprintf(&out, "| %s | %s |\n", name, strings.Join(figures, ", "))
			rows++
		}
	}
	if rows == 0 {
		return "", errors.New("no benchmark lines on standard input")
	}
	return fmt.Sprintf("\nMeasured on %s.\n%s\n", cpu, out.String()), lines.Err()
}

// figuresOf reads "BenchmarkName-2 100 12 ns/op 0.9 ratio" as the name and "12 ns/op", "0.9 ratio".
func figuresOf(line string) (string, []string) {
	words := strings.Fields(line)
	name := strings.TrimPrefix(words[0], "Benchmark")
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		name = name[:i]
	}
	var figures []string
	for i := 2; i+1 < len(words); i += 2 {
		figures = append(figures, words[i]+" "+words[i+1])
	}
	return name, figures
}
