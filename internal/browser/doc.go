// Package browser is Chromium for tests: pages are opened, measured, photographed and printed as a
// person would see them, and asked for what assistive technology would stumble over.
//
// A test binary has one headless browser, which the first [Open] starts, with a profile of its own
// that [Close] removes. It reaches loopback addresses and files only. A [Page] keeps what the
// browser logged and what it asked for, so that a test can say that there was nothing.
//
// The program is Debian's package chromium; axe-core, which looks for faults of accessibility, is a
// package of npm, which `make browser` gets. Files that use this package have the build constraint
// !race: a browser is another process, and compiling its protocol for the race detector takes long.
package browser
