// Package names follows every name in what people read before they run Backbeat: the
// README in both languages, the pages of .github and all of deploy/. A path, a make
// target with its variables, a backbeat command with its flags, a key of the
// configuration or a metric that is named there exists, or the test tells file, line
// and name.
package names
