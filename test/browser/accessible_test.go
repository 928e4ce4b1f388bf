package browser

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestAccessible: axe-core finds nothing on any page, and fingers find everything.
func TestAccessible(t *testing.T) {
	t.Parallel()
	axe := axeCore(t)
	i := install(t, "Corner Shop")
	v := i.visitors(alice)
	v.member.grant()
	for _, page := range everyPage {
		p := v.see(page)
		evaluate[chromedp.Void](p, axe)
		for _, screen := range screens {
			for _, scheme := range schemes {
				p.with(screen, scheme)
				for _, violation := range evaluate[[]string](p, runAxe) {
					t.Errorf("%s, %s, %s: %s", page.name, screen.name, scheme, violation)
				}
			}
			for _, small := range evaluate[[]string](p, smallTargets) {
				t.Errorf("%s, %s: less than 44 pixels to press: %s", page.name, screen.name, small)
			}
		}
	}
}

// runAxe applies every rule there is, experiments too, but for those of level AAA, which
// WCAG itself advises not to require of whole sites, and for the one that reports every
// hidden element: the password page has one, which only password managers look at.
const runAxe = `axe.run(document, {
	runOnly: {type: "rule", values: axe.getRules().filter(r => !r.tags.includes("wcag2aaa") && !r.tags.includes("deprecated") && r.ruleId != "hidden-content").map(r => r.ruleId)},
	resultTypes: ["violations", "incomplete"],
}).then(r => {
	if (r.passes.length < 15) throw new Error("only " + r.passes.length + " rules applied");
	return [...r.violations, ...r.incomplete].map(v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html + " " + n.any.concat(n.all, n.none).map(c => c.message).join("; ")).join(" "));
})`

// smallTargets finds what is hard to press (WCAG 2.2, 2.5.5).
const smallTargets = `[...document.querySelectorAll("a, button, input:not([hidden], [type=hidden])")]
	.filter(e => { const r = e.getBoundingClientRect(); return r.width < 44 || r.height < 44 })
	.map(e => e.outerHTML + " " + e.getBoundingClientRect().width + " x " + e.getBoundingClientRect().height)`

// axeCore returns the script of axe-core, installed in a cache directory that is named
// after the lock file.
func axeCore(t *testing.T) string {
	t.Helper()
	lock, err := os.ReadFile("package-lock.json")
	check(t, err)
	cache, err := os.UserCacheDir()
	check(t, err)
	sum := sha256.Sum256(lock)
	dir := filepath.Join(cache, "counterfoil-test", "browser-"+hex.EncodeToString(sum[:8]))
	script := filepath.Join(dir, "node_modules", "axe-core", "axe.min.js")
	if _, err := os.Stat(script); err != nil {
		installModules(t, dir)
	}
	text, err := os.ReadFile(script)
	check(t, err)
	return string(text)
}

// installModules installs what the lock file names, at once or not at all: others may do
// the same.
func installModules(t *testing.T, dir string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(dir), 0o700))
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "install-")
	check(t, err)
	defer func() { _ = os.RemoveAll(fresh) }()
	for _, name := range []string{"package.json", "package-lock.json"} {
		content, err := os.ReadFile(name)
		check(t, err)
		check(t, os.WriteFile(filepath.Join(fresh, name), content, 0o600))
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = fresh
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	if err := os.Rename(fresh, dir); err != nil && !os.IsExist(err) {
		t.Fatalf("keep what npm installed: %v", err)
	}
}
