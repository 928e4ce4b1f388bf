package packaging

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// open is what systemd-analyze security asks for and the unit does not have, and why.
var open = map[string]string{
	"PrivateNetwork=":                          "it serves a network",
	"RestrictAddressFamilies=~AF_(INET|INET6)": "it serves a network",
	"RestrictAddressFamilies=~AF_UNIX":         "it notifies the service manager, and PostgreSQL may listen there",
	"IPAddressDeny=":                           "who the clients and the proxies are only the administrator knows",
	"RootDirectory=/RootImage=":                "it reads its configuration and certificates where administrators put them",
	"ProcSubset=":                              "metrics tell the time of its start, from /proc/stat",
	"DeviceAllow=":                             "ProtectClock itself lets the clock be read",
}

// worst is the exposure that the unit may reach, of 100.
const worst = 12

// ungraded are lines that systemd-analyze security does not look at.
var ungraded = []string{
	"Type=notify", "User=counterfoil", "Group=counterfoil", "LimitCORE=0", "LimitNOFILE=65536", "StateDirectory=counterfoil", "StateDirectoryMode=0700",
	"ConfigurationDirectory=counterfoil", "ConfigurationDirectoryMode=0750", "Restart=on-failure", "RestartSec=3s", "RestartPreventExitStatus=2 78",
	"TimeoutStartSec=10min", "TimeoutStopSec=30s", "DevicePolicy=closed", "SystemCallErrorNumber=EPERM", "ExecStart=/usr/bin/counterfoil serve",
}

// examine says what is wrong with a unit.
func examine(t *testing.T, unit string) (wrong []string) {
	t.Helper()
	lines := strings.Split(unit, "\n")
	for _, line := range ungraded {
		if !slices.Contains(lines, line) {
			wrong = append(wrong, "no "+line)
		}
	}
	path := filepath.Join(t.TempDir(), "counterfoil.service")
	write(t, path, unit)
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--json=short", "--no-pager", path).Output()
	if err != nil {
		return append(wrong, "systemd-analyze does not accept it: "+err.Error())
	}
	var checks []struct {
		Name string
		Set  bool
	}
	if err := json.Unmarshal(out, &checks); err != nil {
		t.Fatalf("systemd-analyze printed %q: %v", out, err)
	}
	if len(checks) < 60 {
		t.Fatalf("systemd-analyze looked at %d settings only", len(checks))
	}
	for _, c := range checks {
		if _, expected := open[c.Name]; !c.Set && !expected {
			wrong = append(wrong, c.Name+" is not set")
		}
	}
	security := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", fmt.Sprint("--threshold=", worst), path)
	if err := security.Run(); err != nil {
		wrong = append(wrong, "its exposure is too great")
	}
	return wrong
}

func TestUnitIsHardened(t *testing.T) {
	t.Parallel()
	if wrong := examine(t, read(t, filepath.Join(source, "systemd/counterfoil.service"))); wrong != nil {
		t.Errorf("counterfoil.service: %s", strings.Join(wrong, "; "))
	}
}

// redundant are lines that others imply, and that are there to be read.
var redundant = map[string]string{
	"AmbientCapabilities=": "it is the default",
	"PrivateMounts=yes":    "every other line about files implies it",
}

// TestEveryLineOfTheUnitCounts takes each line away and expects that it is missed.
func TestEveryLineOfTheUnitCounts(t *testing.T) {
	t.Parallel()
	unit := read(t, filepath.Join(source, "systemd/counterfoil.service"))
	_, service, _ := strings.Cut(unit, "[Service]\n")
	service, _, _ = strings.Cut(service, "[Install]")
	tried := 0
	for line := range strings.Lines(service) {
		name := strings.TrimSpace(line)
		if _, known := redundant[name]; known || name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		tried++
		if examine(t, strings.Replace(unit, "\n"+line, "\n", 1)) == nil {
			t.Errorf("the unit passes without %s", name)
		}
	}
	if tried < 40 {
		t.Errorf("tried %d lines only", tried)
	}
}

// TestUnitIsValid has systemd read the unit, alone and with the drop-in for secrets.
func TestUnitIsValid(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	unit := replace(t, read(t, filepath.Join(source, "systemd/counterfoil.service")), "/usr/bin/counterfoil", "/bin/true")
	path := filepath.Join(root, "counterfoil.service")
	write(t, path, unit)
	if out := output(t, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path); out != "" {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	write(t, filepath.Join(root, "counterfoil.service.d/credentials.conf"), read(t, filepath.Join(source, "systemd/credentials.conf")))
	if out := output(t, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path); out != "" {
		t.Errorf("systemd-analyze verify, with credentials.conf: %s", out)
	}
}

// TestCredentialsAreOfSettings: each credential is passed on by a setting that exists.
func TestCredentialsAreOfSettings(t *testing.T) {
	t.Parallel()
	text := read(t, filepath.Join(source, "systemd/credentials.conf"))
	loaded := regexp.MustCompile(`(?m)^LoadCredential=(\w+):/`).FindAllStringSubmatch(text, -1)
	if len(loaded) != 2 {
		t.Fatalf("credentials.conf loads %d credentials, want 2", len(loaded))
	}
	for _, credential := range loaded {
		name := credential[1]
		line := "\nEnvironment=COUNTERFOIL_" + strings.ToUpper(name) + "_FILE=%d/" + name + "\n"
		if !strings.Contains(text, line) {
			t.Errorf("credentials.conf has no line %s", strings.TrimSpace(line))
		}
	}
}
