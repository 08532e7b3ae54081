"""The report in a browser, offline: no errors, no requests, filter, sort, keyboard, phone, many cases."""

import json
import shutil

import pytest
import synthetic

from clme.files import write_text
from clme.publish import drawing
from clme.publish.report import render
from clme.publish.results import Results

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="the report isn't tested: apt-get install chromium chromium-driver"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1400,1000",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    found = Results(synthetic.write(tmp_path_factory.mktemp("results"), cases=40), synthetic.PUBLISHED)
    drawing.write_all(found, found.folder)
    return found


@pytest.fixture(scope="module")
def page(results):
    path = results.folder / "report.html"
    write_text(path, render(results))
    return path


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    found.set_script_timeout(120)
    yield found
    found.quit()


@pytest.fixture
def browser(driver, page):
    """The page, loaded anew."""
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    opened(driver, page.as_uri())
    return driver


def opened(driver, address):
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get("about:blank")
    for kind in ("browser", "performance"):
        driver.get_log(kind)
    driver.get(address)
    WebDriverWait(driver, 60).until(lambda one: one.execute_script("return document.body.dataset.ready"))


def rows(driver, column=0):
    """The texts of a column of the visible part of the list."""
    shown = "[...document.querySelectorAll('#case-table tbody tr')]"
    script = f"return {shown}.map(row => row.cells[arguments[0]]?.innerText)"
    return driver.execute_script(script, column)


def choose(driver, name, value):
    driver.execute_script(
        "const e = document.getElementById('filters').elements[arguments[0]]; e.value = arguments[1];"
        "e.dispatchEvent(new Event('input', {bubbles: true}))",
        name,
        value,
    )


def case_of(driver, start):
    """The pane of a case, once its heading begins with a text, which is some time after it was asked for."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    heading = "return document.querySelector('#case h3')?.innerText ?? ''"
    WebDriverWait(driver, 20).until(lambda one: one.execute_script(heading).startswith(start))
    return driver.find_element(By.ID, "case")


def total(driver):
    """How many edits the list says that there are."""
    said = driver.execute_script("return document.querySelector('.dt-info').innerText")
    return int(said.split(" of ")[1].split()[0].replace(",", ""))


def test_it_loads_without_errors_and_asks_for_nothing_else(browser):
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    ours = [one["request"]["url"] for one in requests if one["documentURL"].startswith("file:")]
    assert any(address.startswith("file:") for address in ours)
    assert all(address.startswith(("file:", "data:", "blob:")) for address in ours)


def test_filters_and_search_narrow_the_list(browser, results):
    everything = total(browser)
    assert everything == 2 * 3 * 40
    choose(browser, "dataset", "cnle")
    assert total(browser) == everything / 2
    choose(browser, "editor", "2")
    assert total(browser) == 40
    choose(browser, "outcome", "learned")
    learned = int(results.edits("tiny", "cnle", "grace")["effectiveness_em"].sum())
    assert total(browser) == learned
    choose(browser, "outcome", "")
    choose(browser, "text", "cnle-00007")
    assert rows(browser) == ["cnle-00007"]


def sorted_column(driver, place, reverse):
    """Wait until a column of numbers is sorted, which is some time after the click, and return it."""
    from selenium.webdriver.support.ui import WebDriverWait

    def in_order(one):
        found = [float(value) for value in rows(one, place)]
        return found if found == sorted(found, reverse=reverse) else False

    return WebDriverWait(driver, 20).until(in_order)


def test_the_list_sorts_by_a_click_and_by_the_keyboard(browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    choose(browser, "editor", "1")
    place = [head.text for head in browser.find_elements(By.CSS_SELECTOR, "#case-table thead th")].index(
        "Spec."
    )
    head = browser.find_elements(By.CSS_SELECTOR, "#case-table thead th")[place]
    head.click()
    up = sorted_column(browser, place, reverse=False)
    browser.execute_script("arguments[0].querySelector('[tabindex], button, .dt-column-order').focus()", head)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    down = sorted_column(browser, place, reverse=True)
    assert down != up


def test_tables_sort_and_the_missing_stay_apart(browser):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    cells = "#table_4 tbody tr td:nth-child(3)"
    before = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, cells)]
    assert before.count("–") == 4
    head = browser.find_elements(By.CSS_SELECTOR, "#table_4 thead tr:last-child th")[2]
    for order in ("ascending", "descending"):
        head.click()
        # A click sorts some time after it, and the next one counts from what it finds.
        WebDriverWait(browser, 20).until(lambda _, order=order: head.get_attribute("aria-sort") == order)
    after = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, cells)]
    numbers = [float(text) for text in after if text != "–"]
    assert after[-4:] == ["–"] * 4
    assert numbers == sorted(numbers, reverse=True)


def test_a_case_opens_by_keyboard_shows_differences_and_can_be_linked_to(browser, page):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    choose(browser, "editor", "1")
    links = browser.find_elements(By.CSS_SELECTOR, "#case-table tbody a")
    browser.execute_script("arguments[0].focus()", links[0])
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert browser.switch_to.active_element.text == links[1].text
    name = links[1].text
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    pane = case_of(browser, name)
    address = browser.current_url
    # What a request holds is shown as it is, and never becomes part of the page.
    assert "<b>&amp;</b>" in pane.text
    assert pane.find_elements(By.CSS_SELECTOR, "pre b") == []
    opened(browser, address)
    assert f"case={name}&" in address
    case_of(browser, name)
    opened(browser, f"{page.as_uri()}#case=nowhere")
    assert "There is no case nowhere" in browser.find_element(By.ID, "case").text


def test_differences_mark_what_is_missing_and_what_is_new(browser, results):
    edits = results.edits("tiny", "cnle", "ft_l")
    missed = edits[edits["effectiveness_em"] == 0].iloc[0]
    browser.execute_script(
        "location.hash = arguments[0]", f"case={missed['case_id']}&dataset=cnle&editor=FT-L"
    )
    case_of(browser, missed["case_id"])
    found = browser.execute_script(
        "const part = document.querySelector('#case details[open]');"
        "const pre = [...part.querySelectorAll('h4')].find(h => h.innerText === 'Request')"
        ".nextElementSibling.nextElementSibling.querySelector('pre').cloneNode(true);"
        "const text = (drop) => { const one = pre.cloneNode(true);"
        "one.querySelectorAll(drop).forEach(e => e.remove()); return one.textContent; };"
        "return [text('ins'), text('del')];"
    )
    assert found == [missed["target"], missed["effectiveness_output"]]


def test_it_is_readable_at_phone_width(browser):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 375, "height": 800, "deviceScaleFactor": 2, "mobile": True},
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 375
    name = rows(browser)[0]
    browser.execute_script("document.querySelector('#case-table tbody a').click()")
    case_of(browser, name)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 375


def test_two_thousand_cases_stay_smooth(driver, results, page):
    """20,000 edits: what a filter or a sort costs is bounded by script, not by what is drawn."""
    import re

    from clme.publish import browser as packer

    data = packer.content(results)
    cases = [{**data["cases"][n % 80], "id": f"case-{n:05}"} for n in range(2000)]
    template = data["rows"][:80]
    data["rows"] = [[n, 0, e, *template[(n + e) % 80][3:]] for n in range(2000) for e in range(10)]
    data |= {"cases": cases, "editors": [f"editor {e}" for e in range(10)], "unedited": 0}
    data["expected"] = [{n: ["x"] * 5 for n in range(2000)}]
    text = re.sub(
        r'(<script type="text/plain" id="data">)[^<]*',
        lambda found: found[1] + packer.pack(data),
        page.read_text(encoding="utf-8"),
    )
    large = page.with_name("large.html")
    large.write_text(text, encoding="utf-8")
    opened(driver, large.as_uri())
    assert total(driver) == 20000
    # However many cases there are, a page of them is in the document.
    assert driver.execute_script("return document.querySelectorAll('#case-table tbody tr').length") == 25
    choose(driver, "text", "case-01999")
    assert total(driver) == 10
    assert set(rows(driver)) == {"case-01999"}
    assert driver.execute_script("return document.getElementsByTagName('*').length") < 6000
