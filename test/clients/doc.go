// Package clients runs other people's client libraries against the real server: from
// npm (package-lock.json has their versions), from Debian's packages for Python, and
// Go's. Each does what an application does with it, in a script of its own, which tells
// the test what it got; the test plays the user at the browser, and judges. Last, many
// clients redeem one authorization code at once.
package clients
