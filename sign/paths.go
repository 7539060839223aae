package sign

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/slipstream-ota/slipstream"
)

// CheckPath accepts the path of a file in a release: relative, '/' between the parts, NFC UTF-8, at most 512 bytes, and
// nothing that some file system reads differently.
func CheckPath(p string) error {
	switch {
	case p == "":
		return errors.New("path is empty")
	case len(p) > slipstream.MaxPathBytes:
		return fmt.Errorf("path %.40q… is %d bytes long, at most %d are allowed", p, len(p), slipstream.MaxPathBytes)
	case !utf8.ValidString(p):
		return fmt.Errorf("path %q is not UTF-8", p)
	case !norm.NFC.IsNormalString(p):
		return fmt.Errorf("path %q is not in Unicode normal form C", p)
	}
	for _, r := range p {
		if r == '\\' || r == ':' || unicode.IsControl(r) {
			return fmt.Errorf("path %q contains the character %q", p, r)
		}
	}
	for part := range strings.SplitSeq(p, "/") {
		if err := checkPart(part); err != nil {
			return fmt.Errorf("path %q: %w", p, err)
		}
	}
	return nil
}

func checkPart(part string) error {
	switch {
	case part == "":
		return errors.New("empty part")
	case part == "." || part == "..":
		return fmt.Errorf("part %q", part)
	case strings.HasSuffix(part, ".") || strings.HasSuffix(part, " "):
		return fmt.Errorf("part %q ends in a dot or space", part)
	case windowsReserved(part):
		return fmt.Errorf("part %q is a name reserved by Windows", part)
	}
	return nil
}

// windowsReserved knows the device names of Windows, which it takes in any case and with any extension:
// https://learn.microsoft.com/windows/win32/fileio/naming-a-file
func windowsReserved(part string) bool {
	stem, _, _ := strings.Cut(part, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	digit, isPort := strings.CutPrefix(stem, "COM")
	if !isPort {
		digit, isPort = strings.CutPrefix(stem, "LPT")
	}
	return isPort && utf8.RuneCountInString(digit) == 1 && strings.Contains("0123456789¹²³", digit)
}

// FoldPath maps paths that a case-insensitive file system may take for the same to the same text: every code point is
// mapped to upper and then to lower case by its simple mapping; U+0130 stays, because its lower case is two code points
// in some languages' libraries.
func FoldPath(p string) string {
	return strings.Map(func(r rune) rune {
		if r == 'İ' {
			return r
		}
		return unicode.ToLower(unicode.ToUpper(r))
	}, p)
}

// CheckPaths gives every offender among the files of one release: bad paths, paths that differ only in case, files that
// are another's folder, and too many files. The order of files does not matter.
func CheckPaths(files []slipstream.File) []error {
	var errs []error
	if len(files) > slipstream.MaxFiles {
		errs = append(errs, slipstream.Hint(fmt.Errorf("%d files, at most %d are allowed", len(files), slipstream.MaxFiles),
			"split the content into several packages"))
	}
	seen := make(map[string]string, len(files)) // folded → path
	for _, f := range files {
		if err := CheckPath(f.Path); err != nil {
			errs = append(errs, err)
		}
		folded := FoldPath(f.Path)
		if other, taken := seen[folded]; taken {
			errs = append(errs, fmt.Errorf("paths %q and %q are the same where case does not count", other, f.Path))
			continue
		}
		seen[folded] = f.Path
	}
	for _, f := range files {
		folded := FoldPath(f.Path)
		for i := strings.LastIndexByte(folded, '/'); i > 0; i = strings.LastIndexByte(folded[:i], '/') {
			if parent, isFile := seen[folded[:i]]; isFile {
				errs = append(errs, fmt.Errorf("file %q is also the folder of %q", parent, f.Path))
				break
			}
		}
	}
	return errs
}
