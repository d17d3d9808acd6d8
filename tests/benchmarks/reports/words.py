"""What the made reports are written with: trades, names, figures with the words that people ask for them by, prose."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

FIRST = [
    "Northfield",
    "Halvorsen",
    "Meridian",
    "Castellan",
    "Brightwater",
    "Ostrava",
    "Kestrel",
    "Lindqvist",
    "Arden",
    "Pelham",
    "Tamarack",
    "Vantor",
    "Quillon",
    "Marlowe",
    "Sable",
    "Juniper",
    "Corvane",
    "Thornbury",
    "Belmora",
    "Aldine",
    "Ravensworth",
    "Ilvane",
    "Granholm",
    "Sorrento",
    "Wexley",
    "Dunmore",
]
SECOND = ["Pike Ridge & Sons", "Hale", "Point", "Bros.", "Vale", "Cross", "Grove", "Stone", "Harbor", "Field"]


def halved(company: str) -> bool:
    """Whether a company is of the half that is learnt from; on the other one it is measured what that is worth."""
    return hashlib.sha256(company.encode()).digest()[0] % 2 == 0


class Trade(NamedTuple):
    """A line of business: what its companies are called, make, buy and worry about."""

    nouns: tuple[str, ...]
    products: tuple[str, ...]
    inputs: tuple[str, ...]
    segments: tuple[str, ...]
    worry: tuple[str, ...]


def _trade(nouns: str, products: str, inputs: str, segments: str, worry: str) -> Trade:
    return Trade(*(tuple(part.split("|")) for part in (nouns, products, inputs, segments, worry)))


TRADES = (
    _trade(
        "Beverages|Brewing|Foods",
        "sparkling water|bottled tea|frozen meals|snack bars|craft lager",
        "aluminum cans|sugar|barley|cocoa|cardboard",
        "Soft Drinks|Snacks|Food Service",
        "the health effects of sweeteners|a recall of contaminated bottles|the loss of shelf space",
    ),
    _trade(
        "Airways|Logistics|Shipping",
        "parcel delivery|container transport|cold chain storage|charter flights|freight brokerage",
        "jet fuel|bunker oil|pallets|vehicle leases|crew training",
        "Express|Ocean Freight|Warehousing",
        "an accident involving an aircraft|strikes of dock workers|airspace closures",
    ),
    _trade(
        "Semiconductor|Systems|Software",
        "power converters|network switches|data storage arrays|design tools|cloud subscriptions",
        "silicon wafers|rare earth metals|foundry capacity|licensed patents|server racks",
        "Data Center|Embedded|Licensing",
        "shortage of wafers|theft of trade secrets|export controls",
    ),
    _trade(
        "Energy|Power|Utilities",
        "natural gas distribution|wind parks|transmission lines|district heating|meter services",
        "coal|turbine blades|transformers|emission allowances|pipeline capacity",
        "Regulated Networks|Generation|Retail Supply",
        "wildfires started by power lines|lower allowed returns|a mild winter",
    ),
    _trade(
        "Pharma|Health|Diagnostics",
        "insulin pens|vaccines|blood analyzers|generic antibiotics|hip implants",
        "active ingredients|sterile vials|clinical sites|reagents|titanium",
        "Medicines|Devices|Laboratory Services",
        "failure of a phase three trial|patent expiry|reimbursement cuts",
    ),
    _trade(
        "Stores|Retail|Outfitters",
        "running shoes|camping gear|kitchen appliances|school uniforms|gift cards",
        "cotton|store leases|imported footwear|packaging|delivery vans",
        "Flagship Stores|Online|Outlets",
        "unseasonable weather|counterfeit goods|rents in shopping centers",
    ),
)


class Metric(NamedTuple):
    """A figure of a statement: `row` is how it is printed, `asked` how people ask for it, `share` its size."""

    row: str
    asked: tuple[str, ...]
    share: tuple[float, float]


def _metric(row: str, asked: str, low: float, high: float) -> Metric:
    return Metric(row, tuple(asked.split("|")), (low, high))


INCOME = (
    _metric("Net sales", "net revenue|total revenue|sales|top line revenue", 1.0, 1.0),
    _metric("Cost of goods sold", "COGS|cost of sales|cost of goods sold", 0.5, 0.68),
    _metric("Selling, general and administrative", "SG&A expense|overhead spending|administrative expenses", 0.1, 0.2),
    _metric("Research and development", "R&D spending|research and development expense", 0.02, 0.08),
    _metric("Operating income", "operating profit|income from operations|EBIT", 0.08, 0.16),
    _metric("Interest expense", "interest cost|interest expense on its debt", 0.01, 0.03),
    _metric("Provision for income taxes", "income tax expense|tax bill|taxes", 0.02, 0.04),
    _metric("Net earnings", "net income|bottom line profit|net profit", 0.05, 0.11),
)
BALANCE = (
    _metric("Cash and cash equivalents", "cash on hand|cash position|cash and equivalents", 0.05, 0.2),
    _metric("Accounts receivable, net", "trade receivables|receivables|money owed by customers", 0.08, 0.16),
    _metric("Inventories", "inventory|stock of goods|inventories", 0.06, 0.18),
    _metric("Total current assets", "current assets|total current assets", 0.3, 0.5),
    _metric("Property, plant and equipment, net", "net PP&E|fixed assets|property and equipment", 0.3, 0.6),
    _metric("Goodwill", "goodwill|acquisition goodwill", 0.1, 0.3),
    _metric("Total assets", "total assets|size of the balance sheet", 1.1, 1.6),
    _metric("Accounts payable", "trade payables|accounts payable|payables to suppliers", 0.06, 0.14),
    _metric("Total current liabilities", "current liabilities|short-term obligations", 0.2, 0.35),
    _metric("Long-term debt", "long-term borrowings|long term debt", 0.2, 0.5),
    _metric("Total shareholders' equity", "book equity|stockholders' equity", 0.3, 0.6),
)
CASH = (
    _metric("Net cash provided by operating activities", "operating cash flow|cash from operations", 0.1, 0.16),
    _metric("Depreciation and amortization", "D&A|depreciation and amortization charge", 0.03, 0.06),
    _metric("Purchases of property, plant and equipment", "capex|capital expenditures|capital spending", 0.03, 0.08),
    _metric("Acquisitions of businesses, net of cash acquired", "money spent on acquisitions|M&A outlay", 0.01, 0.1),
    _metric("Repurchases of common stock", "share buybacks|stock repurchases", 0.01, 0.06),
    _metric("Dividends paid", "dividends paid to shareholders|cash dividends", 0.01, 0.04),
    _metric("Proceeds from issuance of long-term debt", "new debt raised|cash from issuing bonds", 0.01, 0.12),
)
RATIOS = (
    ("inventory turnover ratio", "Cost of goods sold", "Inventories"),
    ("fixed asset turnover", "Net sales", "Property, plant and equipment, net"),
    ("return on assets", "Net earnings", "Total assets"),
    ("interest coverage", "Operating income", "Interest expense"),
    ("capex as a percentage of sales", "Purchases of property, plant and equipment", "Net sales"),
    (
        "cash conversion from net income to operating cash flow",
        "Net earnings",
        "Net cash provided by operating activities",
    ),
    ("days payable outstanding", "Accounts payable", "Cost of goods sold"),
    ("debt to equity ratio", "Long-term debt", "Total shareholders' equity"),
    ("working capital", "Total current assets", "Total current liabilities"),
)

PROSE = {
    "Business": (
        "{short} makes and sells {product} and {product2} to customers in {region} and {region2}.",
        "Our largest segment, {segment}, serves {n} customers and competes on price, quality and service.",
        "We buy {input} and {input2} from about {n} suppliers, none of which sells us more than a tenth.",
        "Demand for {product} is seasonal and peaks in the {season} months.",
        "We hold {n} patents and trademarks that protect {product}.",
        "Our people work at {n} sites, the largest of which is in {city}.",
        "In {region} we distribute {product2} through independent dealers under agreements of {few} years.",
        "Competition comes from larger groups with greater resources and from regional makers of {product2}.",
        "We spent part of our capital expenditures on a new line for {product} in {city}.",
        "Backlog of orders for {product} was {money} million at the end of the year.",
    ),
    "Risk Factors": (
        "Our results could be harmed by {worry}.",
        "Prices of {input} have been volatile, and we may not be able to pass higher costs on to customers.",
        "A failure of our information systems could interrupt the sale of {product} and expose us to claims.",
        "We depend on revenue from {region}, where growth, inflation and exchange rates are uncertain.",
        "Changes in tax law could raise our provision for income taxes and reduce net earnings.",
        "Our long-term debt contains covenants that limit dividends, share repurchases and acquisitions.",
        "Goodwill and other intangible assets may become impaired if {segment} performs below our plans.",
        "Litigation concerning {product2} may be costly whatever its outcome.",
        "We may be unable to attract and keep skilled employees in {city}.",
        "Climate rules may require capital spending at plants that use {input2}.",
        "Interest expense would rise if rates on our borrowings increased.",
        "The loss of a large customer of {segment} would lower sales and operating income.",
    ),
    "Management's Discussion": (
        "Net sales changed by {pct} percent compared with {prior}, as volumes of {product} and prices both moved.",
        "Cost of goods sold reflected the price of {input} and a better mix in {segment}.",
        "Selling, general and administrative expenses included {money} million for a restructuring in {city}.",
        "Operating income of {segment} moved by {pct} percent because of {worry}.",
        "Net cash provided by operating activities was affected by working capital, mostly receivables.",
        "Capital expenditures went into capacity for {product2} and into information systems.",
        "We returned cash to shareholders by dividends and share repurchases.",
        "The effective tax rate differed from the statutory one owing to earnings in {region2}.",
        "We expect sales of {product2} to grow by {pct} percent in the coming year.",
        "Total debt and cash on hand left us within our covenants at year end.",
    ),
    "Notes": (
        "Revenue from {product} is recognised when control passes to the customer, usually on delivery.",
        "Inventories are stated at the lower of cost and net realisable value, cost being first-in, first-out.",
        "Property, plant and equipment are depreciated on a straight line over {few} to 40 years.",
        "Goodwill is tested for impairment every year in the fourth quarter at the level of {segment}.",
        "Leases of sites in {city} and {region} have remaining terms of up to {few} years.",
        "Deferred taxes are measured at the rates expected to apply when differences reverse.",
        "Derivatives hedge purchases of {input} and are carried at fair value.",
        "Share-based awards vest over {few} years and are expensed over the service period.",
        "Borrowings carry fixed and variable rates and mature over the coming {few} years.",
        "The company is party to proceedings about {product2} and has recorded what is probable.",
    ),
}
REGIONS = [
    "North America",
    "Latin America",
    "Northern Europe",
    "Southern Africa",
    "Southeast Asia",
    "the Gulf states",
    "Oceania",
]
CITIES = [
    "Dayton",
    "Rotterdam",
    "Monterrey",
    "Gdansk",
    "Busan",
    "Leeds",
    "Adelaide",
    "Winnipeg",
    "Valparaiso",
    "Tampere",
    "Nagoya",
    "Durban",
]
AUDITORS = ["Harlow Whitcombe LLP", "Pruett & Dane LLP", "Osgood Tilney LLP", "Bramwell Keats LLP"]
PEOPLE = [
    "Ingrid Vasquez",
    "Tomas Okafor",
    "Miriam Feld",
    "Deepak Rao",
    "Helen Castellano",
    "Jun Takeda",
    "Petra Novak",
    "Omar Haddad",
]
COURTS = ["the District Court of Delaware", "the Commercial Court in London", "the Superior Court of Ontario"]
