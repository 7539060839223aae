package capgo

import (
	"strconv"
	"strings"
)

// plugin is the version of a client's updater. Its two families count apart: that of Capacitor from 5 on, that of Electron
// from 0.
type plugin struct {
	electron            bool
	major, minor, patch int
}

func parsePlugin(platform, version string) plugin {
	p := plugin{electron: platform == "electron"}
	version, _, _ = strings.Cut(version, "-")
	parts := strings.SplitN(version, ".", 3)
	for i, to := range []*int{&p.major, &p.minor, &p.patch} {
		if i < len(parts) {
			*to, _ = strconv.Atoi(parts[i]) // what is no number is 0: the most careful
		}
	}
	return p
}

func (p plugin) atLeast(major, minor, patch int) bool {
	if p.major != major {
		return p.major > major
	}
	if p.minor != minor {
		return p.minor > minor
	}
	return p.patch >= patch
}

// since says whether the updater of Capacitor is of its major version's release that brought something, or of a later major
// version.
func (p plugin) since(five, six, seven [2]int) bool {
	if p.electron {
		return false
	}
	switch p.major {
	case 5:
		return p.atLeast(5, five[0], five[1])
	case 6:
		return p.atLeast(6, six[0], six[1])
	case 7:
		return p.atLeast(7, seven[0], seven[1])
	}
	return p.major > 7
}

// lists reports whether the updater takes a bundle file by file.
func (p plugin) lists() bool { return p.since([2]int{10, 0}, [2]int{25, 0}, [2]int{0, 35}) }

// takesHex reports whether a signed checksum is written in hex; older ones take base64 of something else.
func (p plugin) takesHex() bool {
	return p.electron || p.since([2]int{30, 0}, [2]int{30, 0}, [2]int{30, 0})
}

// opens reports whether the updater can open a signed bundle. The first of 5 and 7 know another kind of encryption, and that of
// Electron looks for the session key in another place than it is sent in.
func (p plugin) opens() bool { return p.since([2]int{10, 0}, [2]int{0, 0}, [2]int{0, 35}) }

// saysKey reports whether the updater says which key its app has: one that says none has none.
func (p plugin) saysKey() bool {
	return p.since([2]int{43, 0}, [2]int{39, 0}, [2]int{41, 0}) && (p.major != 8 || p.atLeast(8, 40, 0))
}

// hashes reports whether the updater compares the checksum of a bundle that is not signed with its SHA-256. The first of 5
// and 7 compute a CRC-32, and those of 6 nothing, and yet compare; to them the checksum is not said: they take the zip by its own.
func (p plugin) hashes() bool {
	return p.electron || p.major != 6 && p.since([2]int{10, 0}, [2]int{0, 0}, [2]int{0, 35})
}
