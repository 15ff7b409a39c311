// gozip is Go's archive/zip on the command line: the peer of the benchmarks, and a second opinion on our zips.
//
//	gozip create OUT.zip FILE   one entry, Deflate at the default level
//	gozip test FILE.zip         reads every entry to its end and prints name and size
package main

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gozip:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 3 && args[0] == "create":
		return create(args[1], args[2])
	case len(args) == 2 && args[0] == "test":
		return test(args[1])
	default:
		return fmt.Errorf("usage: gozip create OUT.zip FILE | gozip test FILE.zip")
	}
}

func create(out, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	entry, err := archive.Create(filepath.Base(path))
	if err != nil {
		return err
	}
	if _, err := io.Copy(entry, in); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return file.Sync()
}

func test(path string) error {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return err
	}
	defer archive.Close()
	for _, entry := range archive.File {
		body, err := entry.Open()
		if err != nil {
			return err
		}
		size, err := io.Copy(io.Discard, body)
		if err != nil {
			return err
		}
		if err := body.Close(); err != nil {
			return err
		}
		fmt.Printf("%s %d\n", entry.Name, size)
	}
	return nil
}
