// Package browser tries the pages in a real Chromium: what people do with them, what
// other sites try, how they look, and that everybody can use them. The real binary
// serves them over TLS; docs/pages.md shows what they look like.
package browser
