// Package browser is Chromium for tests: pages are opened, measured, photographed and printed as a
// person would see them, and asked for what assistive technology would stumble over.
//
// A test binary has one headless browser, which the first [Open] starts, with a profile of its own
// that [Close] removes. It reaches loopback addresses and files only. A [Page] keeps what the
// browser logged and what it asked for, so that a test can say that there was nothing.
//
// The program is Debian's package chromium; axe-core, which looks for faults of accessibility, is a
// package of npm, which `make browser` gets. This package and the tests that use it have the build
// tag browser, so that all others run on a machine without these.
package browser
