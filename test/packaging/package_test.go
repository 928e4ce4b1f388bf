package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// contents is what both packages hold: mode, owner and path.
var contents = []string{
	"drwxr-x--- root/counterfoil /etc/counterfoil",
	"-rw-r----- root/counterfoil /etc/counterfoil/counterfoil.yaml",
	"-rwxr-xr-x root/root /usr/bin/counterfoil",
	"-rw-r--r-- root/root /usr/lib/systemd/system/counterfoil.service",
	"-rw-r--r-- root/root /usr/lib/sysusers.d/counterfoil.conf",
	"-rw-r--r-- root/root /usr/lib/tmpfiles.d/counterfoil.conf",
	"-rw-r--r-- root/root /usr/share/bash-completion/completions/counterfoil",
	"-rw-r--r-- root/root /usr/share/fish/vendor_completions.d/counterfoil.fish",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/copyright",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/third-party-licenses",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/operations.md",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/orocommerce.md",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/examples/credentials.conf",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/examples/nginx.conf",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/examples/nginx-orocommerce.conf",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/examples/nginx-orocommerce-proxy.conf",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/examples/haproxy.cfg",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/examples/nginx-forward-auth.conf",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/examples/forward-auth.Caddyfile",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/examples/traefik-forward-auth.yaml",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/examples/envoy-forward-auth.yaml",
	"-rw-r--r-- root/root /usr/share/doc/counterfoil/resource-servers.md",
}

func TestPackages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	output(t, filepath.Join(source, "build"), dir)
	deb, rpm := only(t, dir, "*.deb"), only(t, dir, "*.rpm")

	inDeb := regexp.MustCompile(`(?m)^(\S+) (\S+) .* \.(/\S+?)/?$`).ReplaceAllString(output(t, "dpkg-deb", "-c", deb), "$1 $2 $3")
	inRPM := output(t, "rpm", "-qp", "--qf", `[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]`, rpm)
	for _, want := range contents {
		if !strings.Contains("\n"+inDeb, "\n"+want+"\n") {
			t.Errorf("the deb lacks %s; it has\n%s", want, inDeb)
		}
		if !strings.Contains("\n"+inRPM, "\n"+want+"\n") {
			t.Errorf("the rpm lacks %s; it has\n%s", want, inRPM)
		}
	}
	t.Run("conffile", func(t *testing.T) {
		if got, want := output(t, "dpkg-deb", "-I", deb, "conffiles"), "/etc/counterfoil/counterfoil.yaml\n"; got != want {
			t.Errorf("conffiles of the deb: %q, want %q", got, want)
		}
		if got, want := output(t, "rpm", "-qpc", rpm), "/etc/counterfoil/counterfoil.yaml\n"; got != want {
			t.Errorf("configuration files of the rpm: %q, want %q", got, want)
		}
	})
	t.Run("program", func(t *testing.T) { tryProgram(t, deb) })
	t.Run("scripts", func(t *testing.T) {
		for _, script := range []string{"postinst", "prerm", "postrm"} {
			path := filepath.Join(t.TempDir(), script)
			write(t, path, output(t, "dpkg-deb", "-I", deb, script))
			output(t, "sh", "-n", path)
		}
	})
}

// tryProgram unpacks the deb and runs what is in it.
func tryProgram(t *testing.T, deb string) {
	root := t.TempDir()
	output(t, "dpkg-deb", "-x", deb, root)
	binary := filepath.Join(root, "usr/bin/counterfoil")
	validate := exec.Command(binary, "config", "validate", "--config", filepath.Join(root, "etc/counterfoil/counterfoil.yaml"))
	validate.Env = []string{"HOME=" + root}
	if out, err := validate.CombinedOutput(); err != nil {
		t.Errorf("the configuration is not accepted: %v\n%s", err, out)
	}
	if out, err := exec.Command("ldd", binary).CombinedOutput(); err == nil {
		t.Errorf("the program is not static: %s", out)
	}
	punctuation := regexp.MustCompile(`[-~]`) // a deb writes a version in its own way
	version := strings.TrimSpace(output(t, "dpkg-deb", "-f", deb, "Version"))
	said := output(t, binary, "version")
	if !strings.Contains(punctuation.ReplaceAllString(said, ""), "v"+punctuation.ReplaceAllString(version, "")) {
		t.Errorf("the package has version %s, its program says\n%s", version, said)
	}
	bash := filepath.Join(root, "usr/share/bash-completion/completions/counterfoil")
	if info, err := os.Stat(bash); err != nil || info.Size() < 1000 {
		t.Errorf("no completions for bash: %v", err)
	}
}

func only(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v; want one", pattern, found, err)
	}
	return found[0]
}
