// Package php checks docs/php.md: Debian's PHP does with a real key file and real tokens
// what PHP's usual library for resource servers does, and what the document prints is run.
// The library itself is not there; testdata has its rules in a file of our own.
package php
