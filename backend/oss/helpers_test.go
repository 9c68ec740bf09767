package oss_test

import "io"

// flip changes the first byte that is read.
type flip struct{ io.ReadCloser }

func (f flip) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 {
		p[0] ^= 1
	}
	return n, err
}
