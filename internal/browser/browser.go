//go:build browser

package browser

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/cdp/jsonv2"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// limit is when a test gives up on a browser that does not answer. Nothing is measured by it.
const limit = 2 * time.Minute

// one is the browser of this process.
var one struct {
	sync.Mutex
	ctx   context.Context //nolint:containedctx // the handle by which chromedp knows a browser
	close func()
}

// browser is the browser of this process, started where it does not run yet.
func browser(t testing.TB) context.Context {
	t.Helper()
	one.Lock()
	defer one.Unlock()
	if one.ctx != nil {
		return one.ctx
	}
	profile, err := os.MkdirTemp("", "browser-") //nolint:usetesting // it outlives the test that starts the browser
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath("chromium"),
		chromedp.NoSandbox, // it is needed as root, and the pages are ours
		chromedp.DisableGPU,
		chromedp.Env("TMPDIR="+profile),
		chromedp.UserDataDir(profile),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("font-render-hinting", "none"),
	)
	allocated, free := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocated)
	one.close = func() {
		cancel()
		free()
		// Processes of the browser may still write there for a moment.
		for range 50 {
			if os.RemoveAll(profile) == nil {
				return
			}
			<-time.After(100 * time.Millisecond)
		}
	}
	if err := chromedp.Do(ctx); err != nil {
		one.close()
		t.Fatalf("start the browser; it is Debian's package chromium: %v", err)
	}
	one.ctx = ctx
	return ctx
}

// Close ends the browser, if one was started. TestMain calls it after the tests.
func Close() {
	one.Lock()
	defer one.Unlock()
	if one.ctx != nil {
		one.close()
		one.ctx = nil
	}
}

// View is how a page is looked at.
type View struct {
	Width, Height int     // of the window, in CSS pixels; 1280×800 where they are 0
	Scale         float64 // device pixels to a CSS pixel; 1 where it is 0
	Phone         bool    // as a phone shows pages: with their viewport, and touched
	Dark          bool    // the person prefers dark pages
	NoScript      bool    // scripts do not run
}

// Page is a page in a tab of its own, which is closed with the test.
type Page struct {
	t   testing.TB
	ctx context.Context //nolint:containedctx // the handle by which chromedp knows a tab

	mu       sync.Mutex
	messages []string
	requests []string
}

// Open opens a URL, and waits until it is loaded.
func Open(t testing.TB, url string, v View) *Page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser(t))
	ctx, stop := context.WithTimeout(ctx, limit)
	t.Cleanup(func() { stop(); cancel() })
	p := &Page{t: t, ctx: ctx}
	if err := chromedp.Listen(ctx, p.heard); err != nil {
		t.Fatalf("listen to the browser: %v", err)
	}
	if v.Width == 0 {
		v.Width, v.Height = 1280, 800
	}
	if v.Scale == 0 {
		v.Scale = 1
	}
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	call(p, network.Enable, network.EnableParams{})
	call(p, log.Enable, cdp.Empty{})
	call(p, runtime.Enable, cdp.Empty{})
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: int64(v.Width), Height: int64(v.Height), DeviceScaleFactor: v.Scale, Mobile: v.Phone})
	call(p, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: v.Phone})
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: v.NoScript})
	p.Go(url)
	return p
}

// heard keeps what the browser tells of a page.
func (p *Page) heard(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		text := "console." + string(e.Type)
		for _, a := range e.Args {
			text += " " + string(a.Value)
		}
		p.messages = append(p.messages, text)
	case *runtime.EventExceptionThrown:
		p.messages = append(p.messages, "exception: "+(&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
	case *log.EventEntryAdded:
		p.messages = append(p.messages, string(e.Entry.Source)+" "+string(e.Entry.Level)+": "+e.Entry.Text+" "+e.Entry.URL)
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, e.Request.URL)
	case *page.EventJavascriptDialogOpening:
		p.messages = append(p.messages, "dialog: "+e.Message)
	}
}

// Go opens another URL in the same tab, and waits until it is loaded.
func (p *Page) Go(url string) {
	p.t.Helper()
	p.Do(chromedp.Navigate(url))
}

// Do has the browser do something of chromedp, and fails the test when it cannot.
func (p *Page) Do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.t.Fatalf("the browser: %v", err)
	}
}

// run is Do of something that has a result.
func run[T any](p *Page, action chromedp.Action[T]) T {
	p.t.Helper()
	result, err := chromedp.Run(p.ctx, action)
	if err != nil {
		p.t.Fatalf("the browser: %v", err)
	}
	return result
}

// call is run of a command of the DevTools protocol.
func call[P, R any](p *Page, command cdp.Command[P, R], params P) {
	p.t.Helper()
	if _, err := chromedp.Call(p.ctx, command, params); err != nil {
		p.t.Fatalf("the browser: %s: %v", command.Method, err)
	}
}

// Messages are what the browser has logged so far: messages and errors of scripts, what the
// Content-Security-Policy refused, what could not be loaded, and dialogs.
func (p *Page) Messages() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.messages...)
}

// Requests are the URLs that were asked for so far, those of pages and files among them.
func (p *Page) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.requests...)
}

// Run evaluates an expression of JavaScript in the page, where the page's own policy does not
// count. A promise is waited for. The value is decoded into result as JSON, unless result is nil.
func (p *Page) Run(expression string, result any) {
	p.t.Helper()
	value := run(p, chromedp.EvaluateAsDevTools[jsonv2.Value](expression, chromedp.EvalAwaitPromise))
	if result == nil {
		return
	}
	if err := json.Unmarshal(value, result); err != nil {
		p.t.Fatalf("the value of %.200q is %.200s: %v", expression, value, err)
	}
}

// Wait waits until an expression of JavaScript is true.
func (p *Page) Wait(expression string) {
	p.t.Helper()
	for done := false; !done; {
		if p.Run(expression, &done); !done {
			<-time.After(20 * time.Millisecond) // the page may run no scripts, so it cannot wait itself
		}
	}
}

// Screenshot is a PNG of the page: of its whole length, or of the window.
func (p *Page) Screenshot(whole bool) []byte {
	p.t.Helper()
	if whole {
		return run(p, chromedp.FullScreenshot(100))
	}
	return run(p, chromedp.CaptureScreenshot())
}

// PDF is the page as it is printed, on the paper that its style asks for.
func (p *Page) PDF() []byte {
	p.t.Helper()
	return run(p, chromedp.PrintToPDF(chromedp.PDFPreferCSSPageSize(), chromedp.PDFPrintBackground()))
}
