package main

import "testing"

func TestAbout(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 0.125: "0.125", 42: "42", 99.96: "100", 9600: "9600", 9649.3: "9650", 1234567: "1230000", 999_999: "1000000"} {
		if got := about(x); got != want {
			t.Errorf("about(%v) is %s, want %s", x, got, want)
		}
	}
}
