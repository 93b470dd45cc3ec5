// Package activity is what this process does for which command: attempts of coordinators and units
// of workers. It watches the jobs of those commands, and stops an activity whose command was
// cancelled, has ended, or has another holder. It ends no command itself.
package activity
