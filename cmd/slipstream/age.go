//go:build !device

package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// parseAge reads a duration as people write ages: 90d, 12h, 30m. Zero is allowed, less is not.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 36500 {
			return 0, fmt.Errorf("%q is not a number of days", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not an age such as 90d, 12h or 30m", s)
	}
	return d, nil
}
